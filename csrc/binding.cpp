// What Python sees of the kernels: addresses and sizes in, nothing out. Shapes are checked in native.py.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstring>
#include <stdexcept>

#include "recurrence.h"

#define DECLARE(name) \
  namespace name { \
  extern const unrolled::Kernels kernels32, kernels64; \
  }
DECLARE(baseline)
#ifdef UNROLLED_X86
DECLARE(avx2)
DECLARE(avx512)
#endif
#undef DECLARE

namespace nb = nanobind;
using unrolled::Call;
using unrolled::Kernels;

namespace {

struct Choice {
  const char* name;
  const Kernels *kernels32, *kernels64;
};

std::vector<Choice> available() {    // best first
  std::vector<Choice> found;
#ifdef UNROLLED_X86
  __builtin_cpu_init();
  const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
  if (v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
    found.push_back({"avx512", &avx512::kernels32, &avx512::kernels64});
  if (v3) found.push_back({"avx2", &avx2::kernels32, &avx2::kernels64});
#endif
  found.push_back({"baseline", &baseline::kernels32, &baseline::kernels64});
  return found;
}

Choice chosen = available()[0];

std::vector<std::string> isas() {
  std::vector<std::string> names;
  for (const Choice& choice : available()) names.push_back(choice.name);
  return names;
}

void choose(const std::string& isa) {
  for (const Choice& choice : available())
    if (isa == choice.name) {
      chosen = choice;
      return;
    }
  throw std::invalid_argument(isa);
}

// `numbers` are the members of Call in their order, addresses as integers. A list costs one argument.
Call unpack(nb::list numbers) {
  constexpr size_t count = sizeof(Call) / sizeof(int64_t);
  static_assert(sizeof(void*) == sizeof(int64_t) && sizeof(Call) == count * sizeof(int64_t));
  if (numbers.size() != count) throw std::invalid_argument("the number of fields of Call");
  int64_t raw[count];
  for (size_t i = 0; i < count; ++i) raw[i] = PyLong_AsLongLong(numbers[i].ptr());
  if (PyErr_Occurred()) throw nb::python_error();
  Call call;
  static_assert(std::is_trivially_copyable<Call>::value);
  std::memcpy(&call, raw, sizeof call);
  return call;
}

const Kernels& kernels(bool wide) { return wide ? *chosen.kernels64 : *chosen.kernels32; }

template <class T> bool has_nan(const T* x, int64_t n) {
  bool found = false;
  for (int64_t i = 0; i < n; ++i) found |= x[i] != x[i];
  return found;
}

}    // namespace

NB_MODULE(_native, m) {
  m.def("isas", &isas);
  m.def("isa", [] { return std::string(chosen.name); });
  m.def("choose", &choose);
  m.def("has_nan", [](int64_t x, int64_t n, bool wide) {
    return wide ? has_nan(reinterpret_cast<const double*>(x), n) : has_nan(reinterpret_cast<const float*>(x), n);
  });
  m.def("evaluate", [](int64_t function, int64_t x, int64_t y, int64_t n, bool wide) {    // n: a multiple of 16
    kernels(wide).evaluate(function, reinterpret_cast<const void*>(x), reinterpret_cast<void*>(y), n);
  });
  m.def("vector_bytes", [] { return kernels(false).bytes; });
  m.def("forward", [](nb::list numbers, bool wide) {
    const Call call = unpack(numbers);
    nb::gil_scoped_release free;
    kernels(wide).forward(call);
  });
  m.def("backward", [](nb::list numbers, bool wide) {
    const Call call = unpack(numbers);
    nb::gil_scoped_release free;
    kernels(wide).backward(call);
  });
}
