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

// The functions below take N vectors through each operation side by side. One chain of dependent operations keeps a
// processor waiting, and it looks ahead less than one such chain is long: N at once took a third off their time.
#if UNROLLED_BYTES == 64 || defined(__aarch64__)
constexpr int ABREAST = 8;
#else
constexpr int ABREAST = 4;    // of half as many registers
#endif
#define EACH _Pragma("GCC unroll 8") for (int i = 0; i < N; ++i)

// 1/d for finite, normal d; float within 2 ulp.
template <class T, int N> INLINE void reciprocal(Vec<T> (&d)[N]) {
#if defined(__AVX512F__)
  if constexpr (sizeof(Vec<T>) == 64 && sizeof(T) == 4) {
    Vec<T> y[N];
    EACH y[i] = (Vec<T>)_mm512_maskz_rcp14_ps(0xffff, (__m512)d[i]);
    EACH d[i] = 1 - d[i] * y[i];
    EACH d[i] = y[i] + y[i] * d[i];
    return;
  }
#endif
  EACH d[i] = 1 / d[i];
}

// x to eˣ - 1, and 2ⁿ: eˣ = 2ⁿ (1 + x'), for |x| ≤ LIMIT. NaN stays NaN.
template <class T, int N> INLINE void exponential_parts(Vec<T> (&x)[N], Vec<T> (&scale)[N]) {
  using L = Lanes<T>;
  Vec<T> n[N], p[N];
  EACH scale[i] = x[i] * T(1.4426950408889634) + L::BIG;
  EACH n[i] = scale[i] - L::BIG;
  EACH x[i] = x[i] - n[i] * L::LN2_HIGH;
  EACH x[i] = x[i] - n[i] * L::LN2_LOW;
  EACH p[i] = x[i] * L::EXP[0] + L::EXP[1];
#pragma GCC unroll 16
  for (unsigned k = 2; k < sizeof L::EXP / sizeof(T); ++k) EACH p[i] = p[i] * x[i] + L::EXP[k];
  EACH n[i] = x[i] * x[i];
  EACH x[i] = p[i] * n[i] + x[i];
  EACH scale[i] = (Vec<T>)(((typename L::N)scale[i] << L::MANTISSA) + L::ONE);
}

// x to eˣ, of x cut to ±LIMIT. Errors are tested in tests/kernels/test_functions.py: float ≤ 2 ulp.
template <class T, int N> INLINE void exponential(Vec<T> (&x)[N]) {
  const T limit = Lanes<T>::LIMIT;
  Vec<T> scale[N];
  EACH x[i] = x[i] < -limit ? fill(-limit) : x[i];
  EACH x[i] = x[i] > limit ? fill(limit) : x[i];
  exponential_parts<T>(x, scale);
  EACH x[i] = scale[i] * x[i] + scale[i];
}

// x to 1 / (1 + e⁻ˣ): float ≤ 3 ulp.
template <class T, int N> INLINE void sigmoid(Vec<T> (&x)[N]) {
  EACH x[i] = -x[i];
  exponential<T>(x);
  EACH x[i] = 1 + x[i];
  reciprocal<T>(x);
}

// With q = e^(-2|x|) - 1, tanh |x| = -q / (q + 2): no cancellation near zero. float ≤ 4 ulp, never beyond ±1.
template <class T, int N> INLINE void hyperbolic_tangent(Vec<T> (&x)[N]) {
  using L = Lanes<T>;
  using Bits = typename L::N;
  Vec<T> q[N], scale[N], one[N];
  EACH q[i] = (Vec<T>)((Bits)x[i] | L::SIGN) * 2;
  EACH q[i] = q[i] < -L::SATURATED ? fill(-L::SATURATED) : q[i];
  exponential_parts<T>(q, scale);
  EACH one[i] = scale[i] - 1;
  EACH q[i] = scale[i] * q[i] + one[i];
  EACH scale[i] = q[i] + 2;
  reciprocal<T>(scale);
  EACH q[i] = -q[i] * scale[i];
  EACH x[i] = (Vec<T>)((Bits)q[i] | ((Bits)x[i] & L::SIGN));
}

// f over `count` vectors, some of them abreast: from a place to another, the next one so many elements further.
template <class F, class T, int N = ABREAST>
INLINE void abreast(F f, int64_t count, const T* from, int64_t from_next, T* to, int64_t to_next) {
  for (; count >= N; count -= N) {
    Vec<T> x[N];
    EACH x[i] = load(from + i * from_next);
    f(x);
    EACH store(to + i * to_next, x[i]);
    from += N * from_next, to += N * to_next;
  }
  if constexpr (N > 1)
    if (count > 0) abreast<F, T, N / 2>(f, count, from, from_next, to, to_next);
}
#undef EACH

}    // namespace UNROLLED_NAMESPACE
