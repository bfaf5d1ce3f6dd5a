// The few words of CUDA that strip_gate_kernel.cuh uses, for g++: the threads of a block are fibres that hand over
// at barriers and lane exchanges. The order in which they run is turned round at every pass, so that a missing
// barrier gives a wrong result here too.
#pragma once

#include <cmath>
#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <ucontext.h>
#include <vector>

#define __device__

using __half = _Float16;
inline float __half2float(__half value) { return static_cast<float>(value); }
inline __half __float2half(float value) { return static_cast<__half>(value); }

namespace shim {

struct Index {
    unsigned x;
};

enum class State { kReady, kAtBarrier, kAtExchange, kDone };

class Block {
public:
    // Runs `body` as `threads` fibres (a multiple of 32). Throws where not all of them reach a barrier.
    void run(unsigned threads, std::function<void()> body);
    // Called inside a fibre: hand over until all others are at the same kind of stop.
    void wait(State state);
    float exchange(float value, int lane_mask);

private:
    static constexpr size_t kStackBytes = 64 * 1024;
    static void enter();
    bool release(size_t first, size_t count, State state);

    ucontext_t scheduler_{};
    std::vector<ucontext_t> fibres_;
    std::vector<std::unique_ptr<char[]>> stacks_;
    std::vector<State> states_;
    std::vector<float> lanes_;
    std::function<void()> body_;
};

inline Block* current = nullptr;

}  // namespace shim

inline shim::Index threadIdx{};
inline shim::Index blockIdx{};
inline shim::Index blockDim{};

inline void __syncthreads() { shim::current->wait(shim::State::kAtBarrier); }
inline float __shfl_xor_sync(unsigned, float value, int lane_mask) {
    return shim::current->exchange(value, lane_mask);
}

namespace shim {

inline void Block::enter() {
    current->body_();
    current->states_[threadIdx.x] = State::kDone;
}

inline void Block::wait(State state) {
    unsigned const self = threadIdx.x;
    states_[self] = state;
    swapcontext(&fibres_[self], &scheduler_);
}

inline float Block::exchange(float value, int lane_mask) {
    unsigned const self = threadIdx.x;
    lanes_[self] = value;
    wait(State::kAtExchange);
    float const other = lanes_[self ^ static_cast<unsigned>(lane_mask)];
    wait(State::kAtExchange);
    return other;
}

inline bool Block::release(size_t first, size_t count, State state) {
    for (size_t i = first; i < first + count; ++i) {
        if (states_[i] != state) {
            return false;
        }
    }
    std::fill_n(states_.begin() + static_cast<std::ptrdiff_t>(first), count, State::kReady);
    return true;
}

inline void Block::run(unsigned threads, std::function<void()> body) {
    body_ = std::move(body);
    current = this;
    blockDim.x = threads;
    fibres_.resize(threads);
    lanes_.assign(threads, 0.0f);
    states_.assign(threads, State::kReady);
    while (stacks_.size() < threads) {
        stacks_.emplace_back(new char[kStackBytes]);
    }
    for (unsigned i = 0; i < threads; ++i) {
        getcontext(&fibres_[i]);
        fibres_[i].uc_stack.ss_sp = stacks_[i].get();
        fibres_[i].uc_stack.ss_size = kStackBytes;
        fibres_[i].uc_link = &scheduler_;
        makecontext(&fibres_[i], &Block::enter, 0);
    }
    bool backwards = false;
    while (!release(0, threads, State::kDone)) {
        bool progress = release(0, threads, State::kAtBarrier);
        for (unsigned warp = 0; warp < threads; warp += 32) {
            progress = release(warp, 32, State::kAtExchange) || progress;
        }
        for (unsigned i = 0; i < threads; ++i) {
            unsigned const self = backwards ? threads - 1 - i : i;
            if (states_[self] == State::kReady) {
                threadIdx.x = self;
                swapcontext(&scheduler_, &fibres_[self]);
                progress = true;
            }
        }
        if (!progress) {
            throw std::logic_error("not all threads of the block reached the same barrier");
        }
        backwards = !backwards;
    }
}

}  // namespace shim
