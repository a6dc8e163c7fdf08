// The baseline kernels without Python, for processors that only an emulator stands in for: `make neon`.
//
// In float64 the states against plain loops, and every gradient against differences of those loops; then float32
// against float64. The letters are those of recurrence.h.
#include <cmath>
#include <cstdio>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "../../csrc/recurrence.h"

namespace baseline {
extern const unrolled::Kernels kernels32, kernels64;
}

using namespace unrolled;
using Numbers = std::vector<double>;

constexpr int64_t M = 2, B = 5, T = 4, I = 3, H = 7;

struct Problem {
  Cell cell;
  int64_t gates;
  Numbers x, h0, c0, weight_ih, weight_hh, bias, bias_hh, dy, dh_last, dc_last;
};

struct Result {
  Numbers y, h_last, c_last, dx, dh0, dc0, dweight_ih, dweight_hh, dbias, dbias_hh;
};

Problem make(Cell cell) {
  static std::mt19937 random(0);
  const auto draw = [](int64_t count) {
    Numbers numbers(count);
    for (double& n : numbers) n = random() / 2147483648.0 - 1;
    return numbers;
  };
  const int64_t G = cell == LSTM ? 4 : cell == GRU ? 3 : 1;
  return {cell,           G,           draw(M * B * T * I), draw(M * B * H),     draw(M * B * H), draw(M * G * H * I),
          draw(M * G * H * H), draw(M * G * H), draw(M * G * H),     draw(M * B * T * H), draw(M * B * H), draw(M * B * H)};
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

// The loss whose gradients are dy, dh_last and dc_last; `found` gets the states.
double plain(const Problem& p, Result* found = nullptr) {
  double loss = 0;
  for (int64_t m = 0; m < M; ++m)
    for (int64_t b = 0; b < B; ++b) {
      Numbers h(&p.h0[(m * B + b) * H], &p.h0[(m * B + b) * H] + H), c(&p.c0[(m * B + b) * H], &p.c0[(m * B + b) * H] + H);
      for (int64_t t = 0; t < T; ++t) {
        Numbers in(p.gates * H), back(p.gates * H);
        for (int64_t g = 0; g < p.gates * H; ++g) {
          const int64_t row = m * p.gates * H + g;
          in[g] = p.bias[row];
          back[g] = p.cell == GRU ? p.bias_hh[row] : 0;
          for (int64_t i = 0; i < I; ++i) in[g] += p.weight_ih[row * I + i] * p.x[((m * B + b) * T + t) * I + i];
          for (int64_t i = 0; i < H; ++i) back[g] += p.weight_hh[row * H + i] * h[i];
        }
        const auto gate = [&](int64_t g, int64_t unit) { return sigmoid(in[g * H + unit] + back[g * H + unit]); };
        for (int64_t i = 0; i < H; ++i) {
          if (p.cell == SIMPLE_RNN) h[i] = std::tanh(in[i] + back[i]);
          if (p.cell == LSTM) {
            c[i] = gate(1, i) * c[i] + gate(0, i) * std::tanh(in[2 * H + i] + back[2 * H + i]);
            h[i] = gate(3, i) * std::tanh(c[i]);
          }
          if (p.cell == GRU) {
            const double n = std::tanh(in[2 * H + i] + gate(0, i) * back[2 * H + i]);
            h[i] = n + gate(1, i) * (h[i] - n);
          }
          loss += h[i] * p.dy[((m * B + b) * T + t) * H + i];
          if (found) found->y.push_back(h[i]);
        }
      }
      for (int64_t i = 0; i < H; ++i) {
        loss += h[i] * p.dh_last[(m * B + b) * H + i] + (p.cell == LSTM ? c[i] * p.dc_last[(m * B + b) * H + i] : 0);
        if (found) found->h_last.push_back(h[i]);
        if (found && p.cell == LSTM) found->c_last.push_back(c[i]);
      }
    }
  return loss;
}

template <class Real> Result computed(const Problem& p, const Kernels& kernels) {
  std::vector<std::vector<Real>> memory;
  memory.reserve(32);    // the addresses in `call` must stay
  const auto in = [&](const Numbers& from) { return memory.emplace_back(from.begin(), from.end()).data(); };
  const auto out = [&](int64_t count) { return memory.emplace_back(count, Real(NAN)).data(); };
  const int64_t G = p.gates;
  Call call{};
  call.cell = p.cell, call.M = M, call.B = B, call.T = T, call.I = I, call.H = H, call.threads = 2;
  call.x = in(p.x), call.x_member = B * T * I, call.x_batch = T * I, call.x_time = I;
  call.h0 = in(p.h0), call.c0 = in(p.c0), call.weight_ih = in(p.weight_ih), call.weight_hh = in(p.weight_hh);
  call.bias = in(p.bias), call.bias_hh = p.cell == GRU ? in(p.bias_hh) : nullptr;
  call.y = out(M * B * T * H), call.h_last = out(M * B * H), call.c_last = out(M * B * H);
  call.saved_size = 1 << 16;    // more than enough
  call.saved = out(call.saved_size);
  kernels.forward(call);
  call.dy = in(p.dy), call.dh_last = in(p.dh_last), call.dc_last = in(p.dc_last);
  call.dx = out(M * B * T * I), call.dh0 = out(M * B * H), call.dc0 = out(M * B * H);
  call.dweight_ih = out(M * G * H * I), call.dweight_hh = out(M * G * H * H), call.dbias = out(M * G * H);
  call.dbias_hh = p.cell == GRU ? out(M * G * H) : nullptr;
  kernels.backward(call);
  const auto read = [](const void* from, int64_t count) {
    const Real* numbers = static_cast<const Real*>(from);
    return numbers ? Numbers(numbers, numbers + count) : Numbers();
  };
  const bool lstm = p.cell == LSTM;
  return {read(call.y, M * B * T * H),         read(call.h_last, M * B * H),
          read(call.c_last, lstm * M * B * H), read(call.dx, M * B * T * I),
          read(call.dh0, M * B * H),           read(call.dc0, lstm * M * B * H),
          read(call.dweight_ih, M * G * H * I), read(call.dweight_hh, M * G * H * H),
          read(call.dbias, M * G * H),         read(call.dbias_hh, M * G * H)};
}

Numbers differences(Problem& p, Numbers& of) {
  Numbers found;
  for (double& n : of) {
    const double kept = n, step = 1e-5;
    n = kept + step;
    const double above = plain(p);
    n = kept - step;
    found.push_back((above - plain(p)) / (2 * step));
    n = kept;
  }
  return found;
}

int passed = 0, failed = 0;

void compare(const std::string& what, const Result& expected, const Result& got, double tolerance) {
  const std::pair<const char*, Numbers Result::*> fields[] = {
      {"y", &Result::y},     {"h_last", &Result::h_last},         {"c_last", &Result::c_last},
      {"dx", &Result::dx},   {"dh0", &Result::dh0},               {"dc0", &Result::dc0},
      {"dweight_ih", &Result::dweight_ih}, {"dweight_hh", &Result::dweight_hh},
      {"dbias", &Result::dbias}, {"dbias_hh", &Result::dbias_hh}};
  for (const auto& [name, field] : fields) {
    const Numbers &one = expected.*field, &other = got.*field;
    double worst = one.size() == other.size() ? 0 : INFINITY;
    for (size_t i = 0; i < one.size() && i < other.size(); ++i) {
      const double error = std::fabs(one[i] - other[i]) / (1 + std::fabs(one[i]));
      if (!(error <= worst)) worst = error;    // NaN too
    }
    const bool good = worst <= tolerance;
    ++(good ? passed : failed);
    if (!good) std::printf("%s %s: error %g, allowed %g\n", what.c_str(), name, worst, tolerance);
  }
}

int main() {
  for (const auto& [name, cell] : {std::pair{"simple_rnn", SIMPLE_RNN}, {"lstm", LSTM}, {"gru", GRU}}) {
    Problem p = make(cell);
    Result expected;
    plain(p, &expected);
    expected.dx = differences(p, p.x), expected.dh0 = differences(p, p.h0);
    expected.dweight_ih = differences(p, p.weight_ih), expected.dweight_hh = differences(p, p.weight_hh);
    expected.dbias = differences(p, p.bias);
    if (cell == LSTM) expected.dc0 = differences(p, p.c0);
    if (cell == GRU) expected.dbias_hh = differences(p, p.bias_hh);
    const Result wide = computed<double>(p, baseline::kernels64);
    compare(std::string(name) + " float64", expected, wide, 1e-8);
    compare(std::string(name) + " float32", wide, computed<float>(p, baseline::kernels32), 1e-5);
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed > 0;
}
