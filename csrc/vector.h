// Vectors of one instruction set, and the functions of them that the cells need.
//
// Included into one translation unit for each instruction set, which sets UNROLLED_BYTES (of a vector)
// and UNROLLED_NAMESPACE. GCC's and Clang's vector extensions; one intrinsic, the estimate of a reciprocal.
#pragma once

#include <cstdint>
#include <cstring>
#include <utility>

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace UNROLLED_NAMESPACE {

template <class T> struct Lanes;
template <> struct Lanes<float> {
  typedef float V __attribute__((vector_size(UNROLLED_BYTES)));
  typedef int32_t N __attribute__((vector_size(UNROLLED_BYTES)));
  static constexpr int32_t SIGN = INT32_MIN, ONE = 0x3f800000;
  static constexpr int MANTISSA = 23;
  static constexpr float BIG = 12582912.0f;    // 1.5 · 2²³: adding it rounds to a whole number, in its lowest bits
  static constexpr float LN2_HIGH = 0.693359375f, LN2_LOW = -2.12194440e-4f, LIMIT = 87.0f, SATURATED = 24.0f;
  // (eʳ - 1 - r) / r² on |r| ≤ ln 2 / 2, the highest power first
  static constexpr float EXP[] = {1.9875691500e-4f, 1.3981999507e-3f, 8.3334519073e-3f,
                                  4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f};
};
template <> struct Lanes<double> {
  typedef double V __attribute__((vector_size(UNROLLED_BYTES)));
  typedef int64_t N __attribute__((vector_size(UNROLLED_BYTES)));
  static constexpr int64_t SIGN = INT64_MIN, ONE = 0x3ff0000000000000;
  static constexpr int MANTISSA = 52;
  static constexpr double BIG = 6755399441055744.0;    // 1.5 · 2⁵²
  static constexpr double LN2_HIGH = 6.93147180369123816490e-1, LN2_LOW = 1.90821492927058770002e-10, LIMIT = 707.0,
                          SATURATED = 44.0;
  static constexpr double EXP[] = {1.0 / 6227020800, 1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800,
                                   1.0 / 362880,     1.0 / 40320,     1.0 / 5040,     1.0 / 720,
                                   1.0 / 120,        1.0 / 24,        1.0 / 6,        1.0 / 2};
};
template <class T> using Vec = typename Lanes<T>::V;
template <class T> constexpr int WIDTH = UNROLLED_BYTES / sizeof(T);

#define INLINE inline __attribute__((always_inline))

template <class T> INLINE Vec<T> load(const T* from) {
  Vec<T> v;
  std::memcpy(&v, from, sizeof v);
  return v;
}
template <class T> INLINE void store(T* to, Vec<T> v) { std::memcpy(to, &v, sizeof v); }
template <class T> INLINE Vec<T> fill(T value) { return value - Vec<T>{}; }    // adding 0 would cost an addition: -0

// The sums of the vectors' lanes, one vector's beside the other's.
template <class T, std::size_t... I> INLINE Vec<T> add_neighbours(Vec<T> a, Vec<T> b, std::index_sequence<I...>) {
  return __builtin_shufflevector(a, b, (2 * I)...) + __builtin_shufflevector(a, b, (2 * I + 1)...);
}
template <class T> INLINE Vec<T> sums_of(Vec<T> (&vectors)[WIDTH<T>]) {
#pragma GCC unroll 5
  for (int n = WIDTH<T> / 2; n >= 1; n /= 2)
#pragma GCC unroll 8
    for (int i = 0; i < n; ++i)
      vectors[i] = add_neighbours<T>(vectors[2 * i], vectors[2 * i + 1], std::make_index_sequence<WIDTH<T>>{});
  return vectors[0];
}

// The sum of the lanes, by halves.
template <class T, int APART, std::size_t... I> INLINE Vec<T> add_apart(Vec<T> v, std::index_sequence<I...>) {
  return v + __builtin_shufflevector(v, v, (I ^ APART)...);
}
template <class T, int APART = WIDTH<T> / 2> INLINE T sum(Vec<T> v) {
  v = add_apart<T, APART>(v, std::make_index_sequence<WIDTH<T>>{});
  if constexpr (APART > 1) return sum<T, APART / 2>(v);
  return v[0];
}

// 1/d for finite, normal d; float within 2 ulp.
template <class T> INLINE Vec<T> reciprocal(Vec<T> d) {
#if defined(__AVX512F__)
  if constexpr (sizeof(Vec<T>) == 64 && sizeof(T) == 4) {
    const Vec<T> y = (Vec<T>)_mm512_maskz_rcp14_ps(0xffff, (__m512)d);
    return y + y * (1 - d * y);
  }
#endif
  return 1 / d;
}

// eˣ - 1 and 2ⁿ: eˣ = 2ⁿ (1 + p), for |x| ≤ LIMIT. NaN stays NaN.
template <class T> INLINE Vec<T> exponential_parts(Vec<T> x, Vec<T>& scale) {
  using L = Lanes<T>;
  using N = typename L::N;
  const Vec<T> rounded = x * T(1.4426950408889634) + L::BIG, n = rounded - L::BIG;
  const Vec<T> r = (x - n * L::LN2_HIGH) - n * L::LN2_LOW;
  Vec<T> p = fill(L::EXP[0]);
#pragma GCC unroll 16
  for (unsigned i = 1; i < sizeof L::EXP / sizeof(T); ++i) p = p * r + L::EXP[i];
  scale = (Vec<T>)(((N)rounded << L::MANTISSA) + L::ONE);
  return p * (r * r) + r;
}

// eˣ, of x cut to ±LIMIT. Errors are tested in tests/kernels/test_functions.py: float ≤ 2 ulp.
template <class T> INLINE Vec<T> exponential(Vec<T> x) {
  const T limit = Lanes<T>::LIMIT;
  x = x < -limit ? fill(-limit) : x;
  x = x > limit ? fill(limit) : x;
  Vec<T> scale;
  const Vec<T> p = exponential_parts<T>(x, scale);
  return scale * p + scale;
}

// 1 / (1 + e⁻ˣ): float ≤ 3 ulp.
template <class T> INLINE Vec<T> sigmoid(Vec<T> x) { return reciprocal<T>(1 + exponential<T>(-x)); }

// With q = e^(-2|x|) - 1, tanh |x| = -q / (q + 2): no cancellation near zero. float ≤ 4 ulp, never beyond ±1.
template <class T> INLINE Vec<T> hyperbolic_tangent(Vec<T> x) {
  using L = Lanes<T>;
  using N = typename L::N;
  const N sign = (N)x & L::SIGN;
  Vec<T> twice = (Vec<T>)(((N)x | L::SIGN)) * 2;
  twice = twice < -L::SATURATED ? fill(-L::SATURATED) : twice;
  Vec<T> scale;
  const Vec<T> p = exponential_parts<T>(twice, scale), q = scale * p + (scale - 1);
  return (Vec<T>)((N)(-q * reciprocal<T>(q + 2)) | sign);
}

}    // namespace UNROLLED_NAMESPACE
