// standin_cublaslt_gemm.cpp - the blocked product of the stand-in for libcublasLt.
//
// Both operands are packed into panels of f32 (as many lines as the inner kernel's registers hold,
// side by side, depth by depth), so that one kernel serves all types and layouts. The panels of
// op(B) are packed once for NC columns of D and all of k; those of op(A) for MC rows and KC of k.
#include "standin_cublaslt_gemm.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <immintrin.h>
#include <vector>

namespace standin
{

// ---- elements -------------------------------------------------------------------------------
size_t bytes_of(Type type)
{
    return type == Type::f32 ? 4 : type == Type::bf16 || type == Type::f16 ? 2 : 1;
}

namespace
{

float from_bits(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

// Sign, `exponent` bits of exponent and the rest mantissa; e4m3 has no infinities.
float small_float(unsigned v, int exponent, bool infinities)
{
    int mantissa = 7 - exponent, bias = (1 << (exponent - 1)) - 1;
    int e = static_cast<int>(v >> mantissa) & ((1 << exponent) - 1);
    int m = static_cast<int>(v) & ((1 << mantissa) - 1);
    float sign = v & 0x80 ? -1.0f : 1.0f;
    if (infinities && e == (1 << exponent) - 1)
        return m ? NAN : sign * INFINITY;
    if (!infinities && (v & 0x7f) == 0x7f)
        return NAN;
    if (e == 0)
        return sign * std::ldexp(static_cast<float>(m), 1 - bias - mantissa);
    return sign * std::ldexp(static_cast<float>(m + (1 << mantissa)), e - bias - mantissa);
}

struct Table {
    float of[256];
    Table(int exponent, bool infinities)
    {
        for (unsigned v = 0; v < 256; v++)
            of[v] = small_float(v, exponent, infinities);
    }
};
const float *fp8(Type type)
{
    static const Table e4m3(4, false), e5m2(5, true);
    return type == Type::e4m3 ? e4m3.of : e5m2.of;
}

// `count` consecutive elements to f32.
void widen(float *to, const char *from, Type type, size_t count)
{
    switch (type) {
    case Type::f32:
        memcpy(to, from, count * 4);
        break;
    case Type::bf16:
        for (size_t i = 0; i < count; i++) {
            uint16_t v;
            memcpy(&v, from + 2 * i, 2);
            to[i] = from_bits(static_cast<uint32_t>(v) << 16);
        }
        break;
    case Type::f16:
        for (size_t i = 0; i < count; i++) {
            uint16_t v;
            memcpy(&v, from + 2 * i, 2);
            to[i] = _cvtsh_ss(v);
        }
        break;
    case Type::e4m3:
    case Type::e5m2:
        for (size_t i = 0; i < count; i++)
            to[i] = fp8(type)[static_cast<unsigned char>(from[i])];
        break;
    }
}

uint16_t to_bf16(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    if (std::isnan(f))
        return 0x7fff;
    return static_cast<uint16_t>((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

} // namespace

float to_float(Type type, const void *element)
{
    float f;
    widen(&f, static_cast<const char *>(element), type, 1);
    return f;
}

void from_float(Type type, float value, void *element)
{
    uint16_t half =
        type == Type::bf16 ? to_bf16(value) : _cvtss_sh(value, _MM_FROUND_TO_NEAREST_INT);
    if (type == Type::f32)
        memcpy(element, &value, 4);
    else
        memcpy(element, &half, 2);
}

// ---- inner kernels: acc[j][i] += sum over p of a[p][i] * b[p][j] ----------------------------
namespace
{

struct Inner {
    size_t rows, columns; // of acc: lines in a panel of op(A), of op(B)
    void (*run)(size_t depth, const float *a, const float *b, float *acc);
};

void run_avx2(size_t depth, const float *a, const float *b, float *acc)
{
    __m256 sum[6][2];
    for (int j = 0; j < 6; j++)
        for (int i = 0; i < 2; i++)
            sum[j][i] = _mm256_loadu_ps(acc + 16 * j + 8 * i);
    for (size_t p = 0; p < depth; p++, a += 16, b += 6) {
        __m256 low = _mm256_loadu_ps(a), high = _mm256_loadu_ps(a + 8);
#pragma GCC unroll 6
        for (int j = 0; j < 6; j++) {
            __m256 x = _mm256_broadcast_ss(b + j);
            sum[j][0] = _mm256_fmadd_ps(low, x, sum[j][0]);
            sum[j][1] = _mm256_fmadd_ps(high, x, sum[j][1]);
        }
    }
    for (int j = 0; j < 6; j++)
        for (int i = 0; i < 2; i++)
            _mm256_storeu_ps(acc + 16 * j + 8 * i, sum[j][i]);
}

__attribute__((target("avx512f"))) void run_avx512(size_t depth, const float *a, const float *b,
                                                   float *acc)
{
    __m512 sum[12][2];
    for (int j = 0; j < 12; j++)
        for (int i = 0; i < 2; i++)
            sum[j][i] = _mm512_loadu_ps(acc + 32 * j + 16 * i);
    for (size_t p = 0; p < depth; p++, a += 32, b += 12) {
        __m512 low = _mm512_loadu_ps(a), high = _mm512_loadu_ps(a + 16);
#pragma GCC unroll 12
        for (int j = 0; j < 12; j++) {
            __m512 x = _mm512_set1_ps(b[j]);
            sum[j][0] = _mm512_fmadd_ps(low, x, sum[j][0]);
            sum[j][1] = _mm512_fmadd_ps(high, x, sum[j][1]);
        }
    }
    for (int j = 0; j < 12; j++)
        for (int i = 0; i < 2; i++)
            _mm512_storeu_ps(acc + 32 * j + 16 * i, sum[j][i]);
}

const Inner &inner()
{
    static const Inner avx2 = {16, 6, run_avx2}, avx512 = {32, 12, run_avx512};
    return __builtin_cpu_supports("avx512f") ? avx512 : avx2;
}

// ---- packing --------------------------------------------------------------------------------
size_t panels(size_t lines, size_t wide)
{
    return (lines + wide - 1) / wide;
}

// Lines [first, first + lines) and depths [from, from + depth) into panels of `wide` lines, the
// last filled up with zeros: to[panel][p][i].
void pack(float *to, const Operand &x, size_t first, size_t lines, size_t from, size_t depth,
          size_t wide)
{
    size_t size = bytes_of(x.type);
    std::vector<float> line(x.packed_outer ? 0 : depth);
    for (size_t at = 0; at < lines; at += wide, to += wide * depth) {
        size_t count = std::min(wide, lines - at);
        if (count < wide)
            std::fill(to, to + wide * depth, 0.0f);
        if (x.packed_outer) {
            for (size_t p = 0; p < depth; p++)
                widen(to + p * wide, x.data + (first + at + (from + p) * x.ld) * size, x.type,
                      count);
            continue;
        }
        for (size_t i = 0; i < count; i++) {
            widen(line.data(), x.data + (from + (first + at + i) * x.ld) * size, x.type, depth);
            for (size_t p = 0; p < depth; p++)
                to[p * wide + i] = line[p];
        }
    }
}

// ---- blocks ---------------------------------------------------------------------------------
const size_t KC = 384, MC = 192, NC = 480; // MC, NC: multiples of both kernels' tiles

// Adds the products of depths [from, from + depth), depth <= KC, to acc[column panel][row panel].
void add_block(std::vector<float> &acc, const float *a, const float *b, size_t rows, size_t columns,
               size_t depth)
{
    const Inner &kernel = inner();
    size_t tile = kernel.rows * kernel.columns, across = panels(rows, kernel.rows);
    for (size_t j = 0; j < panels(columns, kernel.columns); j++)
        for (size_t i = 0; i < across; i++)
            kernel.run(depth, a + i * kernel.rows * depth, b + j * kernel.columns * depth,
                       acc.data() + (j * across + i) * tile);
}

// Writes D's block at (row, column) from the sums.
void finish(const Product &p, const std::vector<float> &acc, size_t row, size_t rows, size_t column,
            size_t columns)
{
    const Inner &kernel = inner();
    size_t size = bytes_of(p.out), across = panels(rows, kernel.rows);
    for (size_t j = 0; j < columns; j++)
        for (size_t i = 0; i < rows; i++) {
            size_t panel = j / kernel.columns * across + i / kernel.rows;
            float value =
                p.alpha *
                acc[(panel * kernel.columns + j % kernel.columns) * kernel.rows + i % kernel.rows];
            if (p.beta != 0)
                value += p.beta * to_float(p.out, p.c + (row + i + (column + j) * p.ldc) * size);
            if (p.bias)
                value += to_float(p.out, p.bias + (row + i) * size);
            from_float(p.out, value, p.d + (row + i + (column + j) * p.ldd) * size);
        }
}

struct Slice {
    size_t from, depth;
};

// k in runs: `slices` of them, each in blocks of KC.
std::vector<std::vector<Slice>> cut(size_t k, size_t slices)
{
    std::vector<std::vector<Slice>> runs;
    size_t each = (k + slices - 1) / slices;
    for (size_t from = 0; from < k; from += each) {
        runs.emplace_back();
        for (size_t at = from, end = std::min(k, from + each); at < end; at += KC)
            runs.back().push_back({at, std::min(KC, end - at)});
    }
    return runs;
}

} // namespace

void multiply(const Product &p)
{
    const Inner &kernel = inner();
    auto runs = cut(p.k, p.slices);
    size_t most = std::min(NC, panels(p.n, kernel.columns) * kernel.columns);
    std::vector<float> b(p.k * most), a(MC * KC), acc(MC * most), total;
    for (size_t column = 0; column < p.n; column += NC) {
        size_t columns = std::min(NC, p.n - column);
        size_t wide = panels(columns, kernel.columns) * kernel.columns;
        for (auto &run : runs)
            for (auto &s : run)
                pack(b.data() + s.from * wide, p.b, column, columns, s.from, s.depth,
                     kernel.columns);
        for (size_t row = 0; row < p.m; row += MC) {
            size_t rows = std::min(MC, p.m - row);
            total.assign(MC * most, 0.0f);
            for (size_t r = 0; r < runs.size(); r++) {
                std::fill(acc.begin(), acc.end(), 0.0f);
                for (auto &s : runs[r]) {
                    pack(a.data(), p.a, row, rows, s.from, s.depth, kernel.rows);
                    add_block(acc, a.data(), b.data() + s.from * wide, rows, columns, s.depth);
                }
                if (runs.size() == 1)
                    total.swap(acc);
                else
                    for (size_t i = 0; i < total.size(); i++)
                        total[i] += acc[i];
            }
            finish(p, total, row, rows, column, columns);
        }
    }
}

} // namespace standin
