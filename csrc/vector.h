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
  static constexpr float EXP[] = {1.39465301e-3f, 8.36663140e-3f, 4.16662811e-2f, 1.66665427e-1f, 5.00000006e-1f};
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

// x, or a bound that it is beyond; NaN stays. GCC makes two operations of a comparison and a choice for AVX-512.
template <class T> INLINE Vec<T> at_least(T low, Vec<T> x) {
#if defined(__AVX512F__)
  if constexpr (WIDTH<T> == 16) return (Vec<T>)_mm512_maskz_max_ps(0xffff, (__m512)fill(low), (__m512)x);
#endif
  return x < low ? fill(low) : x;
}
template <class T> INLINE Vec<T> at_most(T high, Vec<T> x) {
#if defined(__AVX512F__)
  if constexpr (WIDTH<T> == 16) return (Vec<T>)_mm512_maskz_min_ps(0xffff, (__m512)fill(high), (__m512)x);
#endif
  return x > high ? fill(high) : x;
}

#if defined(__AVX512F__)
// c - a b, rounded once: what follows depends on it, and a compiler may round twice where it is not asked.
INLINE Vec<float> less_product(Vec<float> c, Vec<float> a, Vec<float> b) {
  return (Vec<float>)_mm512_fnmadd_ps((__m512)a, (__m512)b, (__m512)c);
}

// 2^(j/16) for j < 16, rounded, as bits from which j · 2¹⁹ is taken away; and by how much its logarithm is not j ln 2 / 16.
constexpr int32_t ROOTS[] = {
    0x3f800000, 0x3f7daac3, 0x3f7b95c2, 0x3f79c3d3, 0x3f7837f0, 0x3f76f532, 0x3f75fed7, 0x3f75583f,
    0x3f7504f3, 0x3f7508a4, 0x3f75672a, 0x3f76248c, 0x3f7744fd, 0x3f78ccdf, 0x3f7ac0c7, 0x3f7d257d};
constexpr float ROUNDED[] = {
    0,            -4.62854697e-8f, 1.19921572e-8f, -4.72978225e-8f, -3.19341804e-8f, -3.62105725e-8f,
    3.09907212e-8f, 7.47521319e-9f, -1.71142712e-8f, 3.04768347e-8f, -5.23333424e-9f, -6.10759160e-9f,
    1.47196055e-8f, 5.25879514e-9f, 6.12825984e-9f, -5.14060920e-9f};
// What exponential_parts does, in sixteenths: the rest is so small that a shorter sum of powers will do.
template <bool LESS_ONE, int N> INLINE void sixteenths(Vec<float> (&x)[N], Vec<float> (&scale)[N]) {
  using L = Lanes<float>;
  const __m512i roots = _mm512_loadu_si512(ROOTS), rounded = _mm512_loadu_si512(ROUNDED);
  auto chosen = [](Vec<float> by, __m512i from) { return _mm512_maskz_permutexvar_epi32(0xffff, (__m512i)by, from); };
  Vec<float> n[N], p[N];
  EACH scale[i] = x[i] * 23.0831207f + L::BIG;
  EACH n[i] = scale[i] - L::BIG;
  EACH x[i] = less_product(x[i], n[i], fill(0.0433216989f));
  EACH x[i] = x[i] - (Vec<float>)chosen(scale[i], rounded);
  if constexpr (LESS_ONE) {
    EACH p[i] = x[i] * 0.0416666667f + 0.166666667f;
    EACH p[i] = p[i] * x[i] + 0.5f;
  } else {
    EACH x[i] = x[i] + n[i] * 1.19040894e-10f;
    EACH p[i] = x[i] * 0.166670584f + 0.500014535f;
  }
  EACH n[i] = x[i] * x[i];
  EACH x[i] = p[i] * n[i] + x[i];
  EACH scale[i] = (Vec<float>)(((L::N)scale[i] << 19) + (L::N)chosen(scale[i], roots));
}
#endif

// a to a / b, for finite, normal b; float within 1 ulp.
template <class T, int N> INLINE void divide(Vec<T> (&a)[N], const Vec<T> (&b)[N]) {
#if defined(__AVX512F__)
  if constexpr (WIDTH<T> == 16) {
    Vec<T> y[N], q[N];
    EACH y[i] = (Vec<T>)_mm512_maskz_rcp14_ps(0xffff, (__m512)b[i]);
    EACH q[i] = a[i] * y[i];
    EACH a[i] = less_product(a[i], b[i], q[i]);
    EACH a[i] = q[i] + y[i] * a[i];
    return;
  }
#endif
  EACH a[i] = a[i] / b[i];
}

// x to x' and a scale: eˣ = scale (1 + x'), for |x| ≤ LIMIT. NaN stays NaN. With LESS_ONE for eˣ - 1: near 0 its error
// counts by its own size; and it may be that of an x that is wrong in its last place.
template <class T, bool LESS_ONE, int N> INLINE void exponential_parts(Vec<T> (&x)[N], Vec<T> (&scale)[N]) {
  using L = Lanes<T>;
#if defined(__AVX512F__)
  if constexpr (WIDTH<T> == 16) return sixteenths<LESS_ONE>(x, scale);
#endif
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
  Vec<T> scale[N];
  EACH x[i] = at_most(Lanes<T>::LIMIT, at_least(-Lanes<T>::LIMIT, x[i]));
  exponential_parts<T, false>(x, scale);
  EACH x[i] = scale[i] * x[i] + scale[i];
}

// x to 1 / (1 + e⁻ˣ): float ≤ 3 ulp.
template <class T, int N> INLINE void sigmoid(Vec<T> (&x)[N]) {
  EACH x[i] = -x[i];
  exponential<T>(x);
  Vec<T> below[N];
  EACH below[i] = 1 + x[i];
  EACH x[i] = fill<T>(1);
  divide<T>(x, below);
}

// With q = e^(-2|x|) - 1, tanh |x| = -q / (q + 2): no cancellation near zero. float ≤ 4 ulp, never beyond ±1.
template <class T, int N> INLINE void hyperbolic_tangent(Vec<T> (&x)[N]) {
  using L = Lanes<T>;
  using Bits = typename L::N;
  Vec<T> q[N], scale[N], one[N];
  EACH q[i] = (Vec<T>)((Bits)x[i] | L::SIGN) * 2;
  EACH q[i] = at_least(-L::SATURATED, q[i]);
  exponential_parts<T, true>(q, scale);
  EACH one[i] = scale[i] - 1;
  EACH q[i] = scale[i] * q[i] + one[i];
  EACH scale[i] = -2 - q[i];
  divide<T>(q, scale);
  EACH x[i] = (Vec<T>)(((Bits)q[i] & ~L::SIGN) | ((Bits)x[i] & L::SIGN));
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
