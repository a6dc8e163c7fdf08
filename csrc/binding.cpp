// What Python sees of the kernels: sizes and tensors in, nothing out. Nothing is known of tensors but where their
// numbers begin, and what says whether they can be read there: type, shape, device, layout.
#include <nanobind/nanobind.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cstring>
#include <initializer_list>
#include <new>
#include <stdexcept>

#include "memory.h"
#include "optimizers.h"
#include "packing.h"
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

nb::object attribute(nb::handle tensor, PyObject* name) {
  nb::object found = nb::steal(PyObject_GetAttr(tensor.ptr(), name));
  if (!found.is_valid()) throw nb::python_error();
  return found;
}

// Where a tensor's numbers begin; 0 for None.
int64_t address(nb::handle tensor) {
  static PyObject* const data_ptr = PyUnicode_InternFromString("data_ptr");
  if (tensor.is_none()) return 0;
  static PyObject* const is_cpu = PyUnicode_InternFromString("is_cpu");
  if (attribute(tensor, is_cpu).ptr() != Py_True) throw std::invalid_argument("a tensor that is not on the CPU");
  const int64_t found = ask(tensor, data_ptr);    // 0 of a fake tensor
  if (!found) throw std::invalid_argument("a tensor without memory");
  return found;
}
// Of float32 or float64, and not to be read with the sign changed.
void check_numbers(nb::handle tensor, bool wide) {
  static PyObject *const dtype = PyUnicode_InternFromString("dtype"), *const is_neg = PyUnicode_InternFromString("is_neg");
  static PyObject* const types[] = {nb::object(nb::module_::import_("torch").attr("float32")).release().ptr(),
                                    nb::object(nb::module_::import_("torch").attr("float64")).release().ptr()};
  if (tensor.is_none()) return;
  if (attribute(tensor, dtype).ptr() != types[wide]) throw std::invalid_argument("a tensor of another type");
  if (ask(tensor, is_neg)) throw NotContiguous();
}
// Where the numbers begin of a contiguous tensor of this shape, which may lack the first axis where that is of one.
int64_t address(nb::handle tensor, bool wide, std::initializer_list<int64_t> sizes) {
  static PyObject *const is_contiguous = PyUnicode_InternFromString("is_contiguous"),
                  *const shape = PyUnicode_InternFromString("shape");
  if (tensor.is_none()) return 0;
  const nb::object found = attribute(tensor, shape);
  if (!PyTuple_Check(found.ptr())) throw std::invalid_argument("a tensor without a shape");
  const int64_t count = PyTuple_GET_SIZE(found.ptr()), lacks = int64_t(sizes.size()) - count;
  bool fits = lacks == 0 || (lacks == 1 && *sizes.begin() == 1);
  for (int64_t i = 0; fits && i < count; ++i)
    fits = PyLong_AsLongLong(PyTuple_GET_ITEM(found.ptr(), i)) == sizes.begin()[lacks + i];
  if (!fits) throw std::invalid_argument("a tensor of another shape than the layer's and the batch's sizes make");
  check_numbers(tensor, wide);
  if (!ask(tensor, is_contiguous)) throw NotContiguous();
  return address(tensor);
}

constexpr size_t SIZES = 11, STRIDES = 3, INPUTS = 11, OUTPUTS = 4, GRADIENTS = 12, MASK = 9;

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
      std::min({M, B, T, I, H, raw[10]}) < 1)
    throw std::invalid_argument("an unknown cell or activation, or none of what there must be one of");
  if (inputs[7].is_none() != inputs[8].is_none()) throw std::invalid_argument("a layer norm's gain without its shift, or the reverse");
  check_numbers(inputs[0], wide);
  *at++ = address(inputs[0]);
  numbers(x_strides);
  *at++ = address(inputs[MASK]);
  numbers(mask_strides);
  // h0, c0, weight_ih, weight_hh, bias, bias_hh, norm_weight, norm_bias, recurrent_mask
  for (size_t i : {5, 6}) *at++ = address(inputs[i], wide, {M, B, H});
  *at++ = address(inputs[1], wide, {M, G * H, I});
  *at++ = address(inputs[2], wide, {M, G * H, H});
  for (size_t i : {3, 4}) *at++ = address(inputs[i], wide, {M, G * H});
  for (size_t i : {7, 8}) *at++ = address(inputs[i], wide, {M, (G + (cell == unrolled::LSTM)) * H});
  *at++ = address(inputs[10], wide, {M, B, H});
  if (!back) {
    for (size_t i = 0; i < OUTPUTS; ++i) *at++ = address(rest[i]);
  } else {
    at += OUTPUTS - 1;
    *at++ = address(rest[0], wide, {PyLong_AsLongLong(rest[count].ptr())});    // saved
  }
  *at++ = PyLong_AsLongLong(rest[count].ptr());
  if (back) {    // dy, dh, dc; then the gradients to be written
    *at++ = raw[8]   ? address(rest[1], wide, {M, B, H})
            : raw[9] ? address(rest[1], wide, {M, T, B, H})
                     : address(rest[1], wide, {M, B, T, H});
    for (size_t i : {2, 3}) *at++ = address(rest[i], wide, {M, B, H});
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

// A forward call that is checked once and made many times: a step of one sequence takes no longer than the checks.
struct Prepared {
  Call call;
  bool wide;
};

// A recurrent layer: sizes and strides as for forward and backward, the memory of both.
void add_recurrence(Stack& stack, nb::tuple sizes, nb::tuple x_strides, nb::tuple inputs, nb::tuple outputs,
                    nb::tuple gradients) {
  const nb::tuple none = nb::make_tuple(0, 0, 0);
  stack.layers.push_back({true, unpack(sizes, x_strides, none, inputs, outputs, stack.wide, false),
                          unpack(sizes, x_strides, none, inputs, gradients, stack.wide, true), {}});
}
// A dense layer: its sizes (those of Dense), and the addresses of x, weight, bias, y, dy, dx, dweight, dbias.
void add_dense(Stack& stack, std::array<int64_t, 4> n, std::array<int64_t, 8> at) {
  Stack::Layer layer{};
  layer.dense = {n[0], n[1], n[2], n[3], pointer(at[0]), pointer(at[1]), pointer(at[2]), pointer(at[3]),
                 pointer(at[4]), pointer(at[5]), pointer(at[6]), pointer(at[7])};
  stack.layers.push_back(layer);
}

// Memory that a tensor can lie in (torch.frombuffer).
struct Memory {
  const int64_t bytes;
  void* const at;
  explicit Memory(int64_t n) : bytes(n), at(n < 0 || n >> 48 ? throw std::bad_alloc() : unrolled::take(n)) {}
  ~Memory() { unrolled::give_back(at, bytes); }
};
int buffer_of(PyObject* self, Py_buffer* view, int flags) {
  if (!nb::inst_ready(self)) {
    PyErr_SetString(PyExc_BufferError, "memory that was never taken");
    return -1;
  }
  const Memory& memory = *nb::inst_ptr<Memory>(self);
  return PyBuffer_FillInfo(view, self, memory.at, memory.bytes, 0, flags);
}

// Of y (B, T, H), whether there is a NaN in its last step.
template <class T> bool ends_in_nan(const void* y, std::array<int64_t, 3> sizes) {
  const auto [B, steps, H] = sizes;
  bool found = false;
  for (int64_t row = 1; row <= B; ++row) {
    const T* last = static_cast<const T*>(y) + (row * steps - 1) * H;
    for (int64_t i = 0; i < H; ++i) found |= last[i] != last[i];
  }
  return found;
}

}    // namespace

NB_MODULE(_native, m) {
  nb::set_leak_warnings(false);    // at the interpreter's end torch leaves its graphs, and what they hold, as they are
  m.def("isas", &isas);
  m.def("isa", [] { return std::string(chosen.name); });
  m.def("choose", &choose);
  m.def("ends_in_nan", [](int64_t y, std::array<int64_t, 3> sizes, bool wide) {
    return wide ? ends_in_nan<double>(pointer(y), sizes) : ends_in_nan<float>(pointer(y), sizes);
  });
  m.def("evaluate", [](int64_t function, int64_t x, int64_t y, int64_t n, bool wide) {    // n: a multiple of 16
    kernels(wide).evaluate(function, reinterpret_cast<const void*>(x), reinterpret_cast<void*>(y), n);
  });
  m.def("vector_bytes", [] { return kernels(false).bytes; });
  m.attr("part_bytes") = unrolled::PART_BYTES;
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
  m.def("products", [](std::array<int64_t, 5> n, std::array<int64_t, 3> at, std::array<int64_t, 3> a, std::array<int64_t, 3> b,
                      bool wide) {
    const unrolled::Matrices given{n[0], n[1], n[2], n[3], n[4], pointer(at[0]), a[0],
                                   a[1], a[2], pointer(at[1]), b[0], b[1], b[2], pointer(at[2])};
    nb::gil_scoped_release free;
    kernels(wide).products(given);
  });
  m.def("repack", [](std::array<int64_t, 3> n, std::array<int64_t, 3> at, bool pack, int64_t threads) {
    const unrolled::Packing p{n[0], n[1], n[2], static_cast<int64_t*>(pointer(at[0])), static_cast<char*>(pointer(at[1])),
                              static_cast<char*>(pointer(at[2])), threads};
    nb::gil_scoped_release free;
    unrolled::repack(p, pack);
  });
  static PyType_Slot slots[] = {{Py_bf_getbuffer, reinterpret_cast<void*>(buffer_of)}, {0, nullptr}};
  nb::class_<Memory>(m, "Memory", nb::type_slots(slots)).def(nb::init<int64_t>());
  nb::class_<Prepared>(m, "Prepared")    // the tensors are the caller's, who keeps them where they are
      .def("__init__",
           [](Prepared* p, nb::tuple sizes, nb::tuple x, nb::tuple mask, nb::tuple inputs, nb::tuple rest, bool wide) {
             new (p) Prepared{unpack(sizes, x, mask, inputs, rest, wide, false), wide};
           })
      .def("__call__", [](const Prepared& p) {
        nb::gil_scoped_release free;
        kernels(p.wide).forward(p.call);
      });
  m.def("backward", [](nb::tuple sizes, nb::tuple x, nb::tuple mask, nb::tuple inputs, nb::tuple rest, bool wide) {
    const Call call = unpack(sizes, x, mask, inputs, rest, wide, true);
    nb::gil_scoped_release free;
    kernels(wide).backward(call);
  });
}
