// What Python sees of the kernels: sizes and tensors in, nothing out. Nothing is known of tensors but where their
// numbers begin; types, shapes and devices are checked in Python.
#include <nanobind/nanobind.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "optimizers.h"
#include "recurrence.h"
#include "stack.h"

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

struct NotContiguous : std::exception {
  const char* what() const noexcept override { return "a tensor is not contiguous"; }
};

// What a tensor answers to a method without arguments. Python would take longer to ask.
int64_t ask(nb::handle tensor, PyObject* method) {
  const nb::object found = nb::steal(PyObject_CallMethodNoArgs(tensor.ptr(), method));
  if (!found.is_valid()) throw nb::python_error();
  return PyLong_AsLongLong(found.ptr());
}

// Where a tensor's numbers begin; 0 for None.
int64_t address(nb::handle tensor) {
  static PyObject* const data_ptr = PyUnicode_InternFromString("data_ptr");
  if (tensor.is_none()) return 0;
  const int64_t found = ask(tensor, data_ptr);    // 0 of a fake tensor, and of one on the meta device
  if (!found) throw std::invalid_argument("a tensor without memory");
  return found;
}
// The same of a contiguous tensor of so many bytes, one that this package has not made itself.
int64_t address(nb::handle tensor, int64_t bytes) {
  static PyObject *const is_contiguous = PyUnicode_InternFromString("is_contiguous"),
                  *const nbytes = PyUnicode_InternFromString("nbytes");
  if (tensor.is_none()) return 0;
  const nb::object size = nb::steal(PyObject_GetAttr(tensor.ptr(), nbytes));
  if (!size.is_valid()) throw nb::python_error();
  if (PyLong_AsLongLong(size.ptr()) != bytes)
    throw std::invalid_argument("a tensor of another size than the layer's, the batch's and the type's");
  if (!ask(tensor, is_contiguous)) throw NotContiguous();
  return address(tensor);
}

constexpr size_t SIZES = 10, STRIDES = 3, INPUTS = 11, OUTPUTS = 4, GRADIENTS = 12, MASK = 9;

// The members of Call: sizes and flags; the inputs in the order of native.Arguments; the outputs, or what is saved
// and the gradients. x and the mask have strides, all else is contiguous.
Call unpack(nb::tuple sizes, nb::tuple x_strides, nb::tuple mask_strides, nb::tuple inputs, nb::tuple rest, bool wide,
            bool back) {
  const size_t count = back ? 1 + GRADIENTS : OUTPUTS;
  if (sizes.size() != SIZES || x_strides.size() != STRIDES || mask_strides.size() != STRIDES ||
      inputs.size() != INPUTS || rest.size() != count + 1)
    throw std::invalid_argument("the number of a call's arguments");
  constexpr size_t fields = sizeof(Call) / sizeof(int64_t);
  static_assert(sizeof(void*) == sizeof(int64_t) && sizeof(Call) == fields * sizeof(int64_t));
  static_assert(fields == SIZES + 2 * (STRIDES + 1) + INPUTS - 2 + OUTPUTS + 1 + GRADIENTS);
  int64_t raw[fields] = {}, *at = raw;
  auto numbers = [&](nb::tuple from) {
    for (nb::handle n : from) *at++ = PyLong_AsLongLong(n.ptr());
  };
  numbers(sizes);
  if (PyErr_Occurred()) throw nb::python_error();
  const int64_t cell = raw[0], M = raw[2], B = raw[3], T = raw[4], I = raw[5], H = raw[6], G = cell == unrolled::LSTM ? 4 : cell ? 3 : 1;
  if (cell < 0 || cell > unrolled::GRU_BEFORE || raw[1] < 0 || raw[1] > unrolled::SIGMOID ||
      std::min({M, B, T, I, H, raw[9]}) < 1)
    throw std::invalid_argument("an unknown cell or activation, or none of what there must be one of");
  const int64_t state = M * B * H, gates = M * G * H, norms = gates + (cell == unrolled::LSTM) * M * H;
  const int64_t steps = raw[8] ? state : state * T;
  // x, weight_ih, weight_hh, bias, bias_hh, h0, c0, norm_weight, norm_bias, the mask, recurrent_mask
  const int64_t of[INPUTS] = {M * B * T * I, gates * I, gates * H, gates, gates, state, state, norms, norms, -1, state};
  const int64_t item = wide ? 8 : 4;
  *at++ = address(inputs[0]);
  numbers(x_strides);
  *at++ = address(inputs[MASK]);
  numbers(mask_strides);
  for (size_t i : {5, 6, 1, 2, 3, 4, 7, 8, 10}) *at++ = address(inputs[i], of[i] * item);    // the states lie before the weights
  if (!back) {
    for (size_t i = 0; i < OUTPUTS; ++i) *at++ = address(rest[i]);
  } else {
    at += OUTPUTS - 1;
    *at++ = address(rest[0]);
  }
  *at++ = PyLong_AsLongLong(rest[count].ptr());
  if (back) {    // dy, dh, dc; then the gradients to be written
    for (size_t i = 1; i <= 3; ++i) *at++ = address(rest[i], (i == 1 ? steps : state) * item);
    for (size_t i = 4; i <= GRADIENTS; ++i) *at++ = address(rest[i]);
  }
  if (PyErr_Occurred()) throw nb::python_error();
  Call call;
  static_assert(std::is_trivially_copyable<Call>::value);
  std::memcpy(&call, raw, sizeof call);
  return call;
}

const Kernels& kernels(bool wide) { return wide ? *chosen.kernels64 : *chosen.kernels32; }

using unrolled::Dense;
using unrolled::Stack;

void* pointer(int64_t at) { return reinterpret_cast<void*>(at); }

// A recurrent layer: sizes and strides as for forward and backward, the memory of both.
void add_recurrence(Stack& stack, nb::tuple sizes, nb::tuple x_strides, nb::tuple inputs, nb::tuple outputs,
                    nb::tuple gradients) {
  const nb::tuple none = nb::make_tuple(0, 0, 0);
  stack.layers.push_back({true, unpack(sizes, x_strides, none, inputs, outputs, stack.wide, false),
                          unpack(sizes, x_strides, none, inputs, gradients, stack.wide, true), {}});
}
// A dense layer: its sizes (those of Dense), and the addresses of x, weight, bias, y, dy, dx, dweight, dbias.
void add_dense(Stack& stack, std::array<int64_t, 6> n, std::array<int64_t, 8> at) {
  Stack::Layer layer{};
  layer.dense = {n[0], n[1], n[2], n[3], n[4], n[5], pointer(at[0]), pointer(at[1]), pointer(at[2]), pointer(at[3]),
                 pointer(at[4]), pointer(at[5]), pointer(at[6]), pointer(at[7])};
  stack.layers.push_back(layer);
}

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
  nb::exception<NotContiguous>(m, "NotContiguous");
  nb::class_<Stack>(m, "Stack")
      .def("__init__",
           [](Stack* s, int64_t members, int64_t slots, bool wide) { new (s) Stack{members, slots, wide, {}, {}, {}}; })
      .def("add_recurrence", &add_recurrence)
      .def("add_dense", &add_dense)
      .def("add_slopes", [](Stack& s, int64_t at, int64_t size) { s.slopes.push_back({pointer(at), size}); })
      .def("set_loss",
           [](Stack& s, std::array<int64_t, 3> n, std::array<int64_t, 3> at) {
             s.loss = {n[0], n[1], n[2], pointer(at[0]), nullptr, nullptr, static_cast<double*>(pointer(at[1])), pointer(at[2])};
           })
      .def("step", [](Stack& s, int64_t x, int64_t target, int64_t counted, int64_t threads) {
        Stack::Layer& first = s.layers.front();
        first.forward.x = first.backward.x = first.dense.x = pointer(x);
        s.loss.target = pointer(target), s.loss.counted = static_cast<uint8_t*>(pointer(counted));
        std::vector<double> losses(s.members), norms(s.members);
        {
          nb::gil_scoped_release free;
          unrolled::step(s, kernels(s.wide), threads, losses.data(), norms.data());
        }
        return std::make_pair(losses, norms);
      });
  m.def("update", [](std::array<int64_t, 4> n, std::array<int64_t, 4> at, std::array<double, 6> x, bool wide) {
    const unrolled::Update u{n[0], n[1], n[2], n[3], pointer(at[0]), pointer(at[1]), pointer(at[2]), pointer(at[3]),
                             x[0], x[1], x[2], x[3], x[4], x[5]};
    nb::gil_scoped_release free;
    return wide ? unrolled::update<double>(u) : unrolled::update<float>(u);
  });
  m.def("forward", [](nb::tuple sizes, nb::tuple x, nb::tuple mask, nb::tuple inputs, nb::tuple rest, bool wide) {
    const Call call = unpack(sizes, x, mask, inputs, rest, wide, false);
    nb::gil_scoped_release free;
    kernels(wide).forward(call);
  });
  m.def("backward", [](nb::tuple sizes, nb::tuple x, nb::tuple mask, nb::tuple inputs, nb::tuple rest, bool wide) {
    const Call call = unpack(sizes, x, mask, inputs, rest, wide, true);
    nb::gil_scoped_release free;
    kernels(wide).backward(call);
  });
}
