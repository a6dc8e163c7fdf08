// Vectors of one instruction set, and the functions of them that the cells need.
//
// Included into one translation unit for each instruction set, which sets UNROLLED_BYTES (of a vector)
// and UNROLLED_NAMESPACE. GCC's and Clang's vector extensions; no intrinsics.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace UNROLLED_NAMESPACE {

template <class T> struct Lanes;
template <> struct Lanes<float> {
  typedef float V __attribute__((vector_size(UNROLLED_BYTES)));
  typedef int32_t N __attribute__((vector_size(UNROLLED_BYTES)));
};
template <> struct Lanes<double> {
  typedef double V __attribute__((vector_size(UNROLLED_BYTES)));
  typedef int64_t N __attribute__((vector_size(UNROLLED_BYTES)));
};
template <class T> using Vec = typename Lanes<T>::V;
template <class T> constexpr int WIDTH = UNROLLED_BYTES / sizeof(T);

template <class T> inline Vec<T> load(const T* from) {
  Vec<T> v;
  std::memcpy(&v, from, sizeof v);
  return v;
}
template <class T> inline void store(T* to, Vec<T> v) { std::memcpy(to, &v, sizeof v); }
template <class T> inline Vec<T> fill(T value) { return Vec<T>{} + value; }

// eˣ. float: |error| ≤ 2 ulp between -87 and 88, and 0 or a large number beyond (tests/kernels/test_native.py).
inline Vec<float> exponential(Vec<float> x) {
  using N = Lanes<float>::N;
  x = x < -87.0f ? fill(-87.0f) : x;
  x = x > 88.0f ? fill(88.0f) : x;
  const Vec<float> big = fill(12582912.0f);    // 1.5 · 2²³: adding it rounds to a whole number
  const Vec<float> n = (x * 1.44269504f + big) - big;
  Vec<float> r = x - n * 0.693359375f;    // ln 2 in two parts
  r = r + n * 2.12194440e-4f;
  Vec<float> p = fill(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  const N power = (__builtin_convertvector(n, N) + 127) << 23;
  Vec<float> scale;
  std::memcpy(&scale, &power, sizeof scale);
  return p * scale;
}
inline Vec<double> exponential(Vec<double> x) {
  for (int i = 0; i < WIDTH<double>; ++i) x[i] = std::exp(x[i]);
  return x;
}

template <class T> inline Vec<T> sigmoid(Vec<T> x) { return 1 / (1 + exponential(-x)); }

inline Vec<float> hyperbolic_tangent(Vec<float> x) {
  const Vec<float> size = x < 0.0f ? -x : x, square = x * x;
  Vec<float> p = fill(-5.70498872745e-3f);
  p = p * square + 2.06390887954e-2f;
  p = p * square - 5.37397155531e-2f;
  p = p * square + 1.33314422036e-1f;
  p = p * square - 3.33332819422e-1f;
  p = p * square * x + x;
  const Vec<float> far = 1.0f - 2.0f / (exponential(2.0f * size) + 1.0f);
  return size < 0.625f ? p : (x < 0.0f ? -far : far);
}
inline Vec<double> hyperbolic_tangent(Vec<double> x) {
  for (int i = 0; i < WIDTH<double>; ++i) x[i] = std::tanh(x[i]);
  return x;
}

}    // namespace UNROLLED_NAMESPACE
