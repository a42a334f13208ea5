// Bodies of the instructions that touch memory.
#pragma once
#include "program.h"

namespace ptxvm
{

enum class Atomic : u8 {
    add,
    min,
    max,
    exchange,
    compare,
    bit_and,
    bit_or,
    bit_xor,
    increment,
    decrement
};

void load(Warp &, const Instruction &, u32 lanes);
void store(Warp &, const Instruction &, u32 lanes);
bool atomic_by_name(const std::string &name, Atomic *operation); // "add": is it one?
Body atomic_body(Atomic operation, const std::string &type);     // null: there is none

// cp.async: async_copy.cpp
void copy_issue(Warp &, const Instruction &, u32 lanes);
void copy_commit(Warp &, const Instruction &, u32 lanes);
void copy_wait_group(Warp &, const Instruction &, u32 lanes);
void copy_wait_all(Warp &, const Instruction &, u32 lanes);

// ldmatrix, stmatrix, mma: tensor.cpp
void load_matrices(Warp &, const Instruction &, u32 lanes);
void store_matrices(Warp &, const Instruction &, u32 lanes);
Body mma_body(const std::string &shape, const std::string &types); // null: not implemented

// collectives.cpp
void shuffle(Warp &, const Instruction &, u32 lanes);
void vote(Warp &, const Instruction &, u32 lanes);
void match_any(Warp &, const Instruction &, u32 lanes);
void match_all(Warp &, const Instruction &, u32 lanes);
void sync_warp(Warp &, const Instruction &, u32 lanes);
Body redux_body(Atomic operation, const std::string &type);

} // namespace ptxvm
