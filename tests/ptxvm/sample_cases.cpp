#include "sample_cases.h"
#include "numeric.h"
#include <functional>

namespace ptxvm
{

namespace
{

// Numbers between -1 and 1, the same in every run.
class Numbers
{
  public:
    float next()
    {
        state = state * 6364136223846793005ull + 1442695040888963407ull;
        return (float)(s32)(state >> 32) * 0x1p-31f;
    }
    std::vector<u16> brains(size_t n)
    {
        std::vector<u16> out(n);
        for (u16 &b : out)
            b = float_to_bf16(next());
        return out;
    }
    std::vector<float> floats(size_t n)
    {
        std::vector<float> out(n);
        for (float &f : out)
            f = next();
        return out;
    }

  private:
    u64 state = 12345;
};

struct Bench {
    Device &device;
    const Kernel *kernel;

    template <class T> u64 upload(const std::vector<T> &values)
    {
        const u64 address = device.allocate(values.size() * sizeof(T));
        memcpy(device.bytes(address, values.size() * sizeof(T), true), values.data(),
               values.size() * sizeof(T));
        return address;
    }
    template <class T> std::vector<T> download(u64 address, size_t n, Outcome *outcome)
    {
        const char *bytes = device.bytes(address, n * sizeof(T), false);
        outcome->results.assign(bytes, bytes + n * sizeof(T));
        std::vector<T> out(n);
        memcpy(out.data(), bytes, n * sizeof(T));
        return out;
    }
    template <class... A> void launch(Dim grid, Dim block, size_t shared, const A &...arguments)
    {
        const void *parameters[] = {&arguments...};
        device.launch(*kernel, grid, block, shared, parameters);
    }
};

void compare(Outcome *outcome, double got, double expected, double bound)
{
    const double error = fabs(got - expected) / bound;
    if (!(error <= outcome->error)) // also a NaN, which stays
        outcome->error = error;
}
double brain(u16 b)
{
    return (double)bf16_to_float(b);
}

// The result is rounded to bf16 (2^-9 of it); the sum's error is far below that.
Outcome rmsnorm(Bench &b)
{
    const int rows = 3, n = 520;
    const float eps = 1e-6f;
    Numbers numbers;
    Outcome outcome;
    const auto x = numbers.brains((size_t)(rows * n));
    const auto w = numbers.floats((size_t)n);
    const u64 dx = b.upload(x), dw = b.upload(w), out = b.device.allocate((size_t)(rows * n) * 2);
    b.launch({rows, 1, 1}, {128, 1, 1}, 0, out, dx, dw, n, eps);
    const auto y = b.download<u16>(out, (size_t)(rows * n), &outcome);
    for (size_t r = 0; r < (size_t)rows; r++) {
        double sum = 0;
        for (size_t i = 0; i < (size_t)n; i++)
            sum += brain(x[r * n + i]) * brain(x[r * n + i]);
        for (size_t i = 0; i < (size_t)n; i++) {
            const double expected = brain(x[r * n + i]) / sqrt(sum / n + eps) * (double)w[i];
            compare(&outcome, brain(y[r * n + i]), expected, fabs(expected) / 256 + 1e-7);
        }
    }
    return outcome;
}

// One rounding to bf16, and K additions in f32 of numbers below 1.
Outcome gemm(Bench &b)
{
    const int M = 70, N = 98, K = 72;
    Numbers numbers;
    Outcome outcome;
    const auto A = numbers.brains((size_t)(M * K)), B = numbers.brains((size_t)(N * K));
    const u64 dA = b.upload(A), dB = b.upload(B), dC = b.device.allocate((size_t)(M * N) * 2);
    b.launch({(N + 63) / 64, (M + 63) / 64, 1}, {128, 1, 1}, 0, dC, dA, dB, M, N, K);
    const auto C = b.download<u16>(dC, (size_t)(M * N), &outcome);
    for (size_t m = 0; m < (size_t)M; m++)
        for (size_t n = 0; n < (size_t)N; n++) {
            double sum = 0;
            for (size_t k = 0; k < (size_t)K; k++)
                sum += brain(A[m * K + k]) * brain(B[n * K + k]);
            compare(&outcome, brain(C[m * N + n]), sum, fabs(sum) / 256 + K * K * 0x1p-24);
        }
    return outcome;
}

// The probabilities are rounded to bf16 (2^-9 of each), then the result.
void compare_flash(Outcome *outcome, const std::vector<u16> &q, const std::vector<u16> &k,
                   const std::vector<u16> &v, const std::vector<u16> &o, size_t head, size_t T)
{
    const auto at = [=](const std::vector<u16> &x, size_t t, size_t e) {
        return brain(x[(head * T + t) * 64 + e]);
    };
    for (size_t t = 0; t < T; t++) {
        std::vector<double> p(t + 1);
        double top = -1e30, sum = 0;
        for (size_t s = 0; s <= t; s++) {
            for (size_t e = 0; e < 64; e++)
                p[s] += at(q, t, e) * at(k, s, e) / 2;
            top = std::max(top, p[s]);
        }
        for (double &x : p)
            sum += x = exp(x - top);
        for (size_t e = 0; e < 64; e++) {
            double y = 0, magnitude = 0;
            for (size_t s = 0; s <= t; s++) {
                y += p[s] / sum * at(v, s, e);
                magnitude += p[s] / sum * fabs(at(v, s, e));
            }
            compare(outcome, at(o, t, e), y, magnitude / 256 + 1e-5);
        }
    }
}
Outcome flash(Bench &b)
{
    const int heads = 2, T = 100;
    const size_t n = (size_t)(heads * T * 64);
    const float scale = 0.5f * 1.4426950408889634f;
    Numbers numbers;
    Outcome outcome;
    const auto q = numbers.brains(n), k = numbers.brains(n), v = numbers.brains(n);
    const u64 dq = b.upload(q), dk = b.upload(k), dv = b.upload(v), out = b.device.allocate(2 * n);
    b.launch({(T + 63) / 64, heads, 1}, {128, 1, 1}, 3 * 64 * 64 * 2, out, dq, dk, dv, T, scale);
    const auto o = b.download<u16>(out, n, &outcome);
    for (size_t head = 0; head < (size_t)heads; head++)
        compare_flash(&outcome, q, k, v, o, head, (size_t)T);
    return outcome;
}

Outcome transpose(Bench &b)
{
    const int n = 96;
    Numbers numbers;
    Outcome outcome;
    const auto in = numbers.floats((size_t)(n * n));
    const u64 din = b.upload(in), out = b.device.allocate((size_t)(n * n) * 4);
    b.launch({1, 1, 1}, {128, 1, 1}, 0, out, din, n);
    const auto got = b.download<float>(out, (size_t)(n * n), &outcome);
    for (size_t r = 0; r < (size_t)n; r++)
        for (size_t c = 0; c < (size_t)n; c++)
            compare(&outcome, (double)got[c * n + r], (double)in[r * n + c], 1e-30);
    return outcome;
}

Outcome pipeline(Bench &b)
{
    const int rounds = 5;
    Numbers numbers;
    Outcome outcome;
    const auto in = numbers.floats(64 * rounds);
    const u64 din = b.upload(in), out = b.device.allocate(64 * rounds * 4);
    b.launch({1, 1, 1}, {128, 1, 1}, 0, out, din, rounds);
    const auto got = b.download<float>(out, 64 * rounds, &outcome);
    for (size_t n = 0; n < 64 * rounds; n++)
        compare(&outcome, (double)got[n], (double)(in[n / 64 * 64 + 63 - n % 64] * 2.f + 1.f),
                1e-30);
    return outcome;
}

// Numbers below 1 in any order: n additions, each rounded in f32, of sums below n.
Outcome sum(Bench &b)
{
    const int n = 1000;
    Numbers numbers;
    Outcome outcome;
    const auto in = numbers.floats(n);
    const u64 din = b.upload(in), out = b.upload(std::vector<float>(1, 0.f));
    b.launch({4, 1, 1}, {256, 1, 1}, 0, out, din, n);
    double expected = 0;
    for (float f : in)
        expected += (double)f;
    compare(&outcome, (double)b.download<float>(out, 1, &outcome)[0], expected, n * 20 * 0x1p-24);
    return outcome;
}

} // namespace

Outcome run_sample(Device &device, const Module &module, const std::string &name)
{
    Bench bench{device, device.find(module, name)};
    if (!bench.kernel)
        throw Fault("no kernel " + name);
    const std::string family = name.substr(0, name.find('_'));
    return family == "rmsnorm"     ? rmsnorm(bench)
           : family == "gemm"      ? gemm(bench)
           : family == "flash"     ? flash(bench)
           : family == "transpose" ? transpose(bench)
           : family == "pipeline"  ? pipeline(bench)
                                   : sum(bench);
}

} // namespace ptxvm
