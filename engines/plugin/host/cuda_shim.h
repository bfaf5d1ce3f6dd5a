// The few words of CUDA that the device code uses, for g++: the threads of a cluster are fibres that hand over at
// barriers and lane exchanges. The order in which they run is turned round at every pass, a block runs as far ahead of
// the others of its cluster as barriers let it, and shared memory is NaN before its block runs and once it has ended:
// a missing barrier gives a wrong result here too.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <stdexcept>
#include <ucontext.h>
#include <vector>

#define __device__

using __half = _Float16;
inline float __half2float(__half value) { return static_cast<float>(value); }
inline __half __float2half(float value) { return static_cast<__half>(value); }
inline float __fdividef(float dividend, float divisor) { return dividend / divisor; }

struct alignas(16) uint4 {
    uint32_t x, y, z, w;
};
struct alignas(8) uint2 {
    uint32_t x, y;
};
template <typename T>
T __ldcs(T const* address) {
    return *address;
}
template <typename T>
T __ldg(T const* address) {
    return *address;
}

namespace shim {

struct Index {
    unsigned x;
    unsigned y;
};

struct Grid {
    unsigned blocks;      // along x
    unsigned clusters;    // along y
    unsigned threads;     // of a block, a multiple of 32
    unsigned in_cluster;  // blocks along x
    size_t shared_floats;
};

enum class State { kReady, kAtBarrier, kAtExchange, kAtClusterBarrier, kDone };

class Cluster {
public:
    explicit Cluster(Grid const& grid);
    // Runs `body`, which gets its block's shared memory, in every thread of the blocks from (first, y) on.
    // Throws where threads wait for others that do not come.
    void run(unsigned first, unsigned y, std::function<void(float*)> body);
    // Called inside a fibre: hand over until all others are at the same stop.
    void wait(State state);
    float exchange(float value, int lane_mask);
    float const* in_block(float const* address, int rank);

private:
    static constexpr size_t kStackBytes = 64 * 1024;
    static constexpr size_t kAlignment = 32;
    static void enter();
    float* shared_of(size_t block);
    void poison(size_t block);
    void start(size_t fibre);
    void resume(size_t fibre);
    bool release(size_t first, size_t count, State state);
    bool pass(size_t block, bool backwards);

    Grid const grid_;
    unsigned first_block_ = 0;
    unsigned y_ = 0;
    size_t self_ = 0;
    ucontext_t scheduler_{};
    std::vector<ucontext_t> fibres_;
    std::vector<std::unique_ptr<char[]>> stacks_;
    std::vector<State> states_;
    std::vector<float> lanes_;
    std::vector<std::vector<float>> shared_;
    std::function<void(float*)> body_;
};

inline Cluster* current = nullptr;

// Runs a kernel: all clusters of the grid, one after the other.
void run(Grid const& grid, std::function<void(float*)> const& body);

}  // namespace shim

inline shim::Index threadIdx{};
inline shim::Index blockIdx{};
inline shim::Index blockDim{};
inline shim::Index gridDim{};

inline void __syncthreads() { shim::current->wait(shim::State::kAtBarrier); }
inline float __shfl_xor_sync(unsigned, float value, int lane_mask) {
    return shim::current->exchange(value, lane_mask);
}

namespace lgeu {
inline void cluster_barrier() { shim::current->wait(shim::State::kAtClusterBarrier); }
inline void leave_cluster() { cluster_barrier(); }
inline float const* in_block_of_cluster(float const* address, int rank) {
    return shim::current->in_block(address, rank);
}
}  // namespace lgeu

namespace shim {

inline Cluster::Cluster(Grid const& grid)
    : grid_(grid)
    , fibres_(grid.in_cluster * grid.threads)
    , states_(fibres_.size())
    , lanes_(fibres_.size())
    , shared_(grid.in_cluster, std::vector<float>(grid.shared_floats + kAlignment / sizeof(float))) {
    for (size_t i = 0; i < fibres_.size(); ++i) {
        stacks_.emplace_back(new char[kStackBytes]);
    }
}

inline float* Cluster::shared_of(size_t block) {
    auto const address = reinterpret_cast<uintptr_t>(shared_[block].data());
    return shared_[block].data() + (kAlignment - address % kAlignment) % kAlignment / sizeof(float);
}

inline void Cluster::poison(size_t block) {
    std::fill(shared_[block].begin(), shared_[block].end(), std::numeric_limits<float>::quiet_NaN());
}

inline void Cluster::enter() {
    Cluster& cluster = *current;
    cluster.body_(cluster.shared_of(cluster.self_ / cluster.grid_.threads));
    cluster.states_[cluster.self_] = State::kDone;
}

inline void Cluster::wait(State state) {
    states_[self_] = state;
    swapcontext(&fibres_[self_], &scheduler_);
}

inline float Cluster::exchange(float value, int lane_mask) {
    size_t const self = self_;
    lanes_[self] = value;
    wait(State::kAtExchange);
    float const other = lanes_[self ^ static_cast<size_t>(lane_mask)];
    wait(State::kAtExchange);
    return other;
}

inline float const* Cluster::in_block(float const* address, int rank) {
    return shared_of(static_cast<size_t>(rank)) + (address - shared_of(self_ / grid_.threads));
}

inline void Cluster::start(size_t fibre) {
    getcontext(&fibres_[fibre]);
    fibres_[fibre].uc_stack.ss_sp = stacks_[fibre].get();
    fibres_[fibre].uc_stack.ss_size = kStackBytes;
    fibres_[fibre].uc_link = &scheduler_;
    makecontext(&fibres_[fibre], &Cluster::enter, 0);
    states_[fibre] = State::kReady;
}

inline void Cluster::resume(size_t fibre) {
    self_ = fibre;
    threadIdx = {static_cast<unsigned>(fibre % grid_.threads), 0};
    blockIdx = {first_block_ + static_cast<unsigned>(fibre / grid_.threads), y_};
    swapcontext(&scheduler_, &fibres_[fibre]);
}

inline bool Cluster::release(size_t first, size_t count, State state) {
    auto const begin = states_.begin() + static_cast<std::ptrdiff_t>(first);
    auto const end = begin + static_cast<std::ptrdiff_t>(count);
    if (!std::all_of(begin, end, [&](State each) { return each == state; })) {
        return false;
    }
    std::fill(begin, end, State::kReady);
    return true;
}

// Every thread of the block that can go on does so until its next stop. Whether there was one.
inline bool Cluster::pass(size_t block, bool backwards) {
    size_t const first = block * grid_.threads;
    bool progress = release(first, grid_.threads, State::kAtBarrier);
    for (size_t warp = first; warp < first + grid_.threads; warp += 32) {
        progress = release(warp, 32, State::kAtExchange) || progress;
    }
    for (size_t i = 0; i < grid_.threads; ++i) {
        size_t const fibre = first + (backwards ? grid_.threads - 1 - i : i);
        if (states_[fibre] == State::kReady) {
            resume(fibre);
            progress = true;
        }
    }
    return progress;
}

inline void Cluster::run(unsigned first, unsigned y, std::function<void(float*)> body) {
    body_ = std::move(body);
    current = this;
    first_block_ = first;
    y_ = y;
    blockDim = {grid_.threads, 1};
    gridDim = {grid_.blocks, grid_.clusters};
    for (size_t i = 0; i < fibres_.size(); ++i) {
        start(i);
    }
    for (size_t block = 0; block < grid_.in_cluster; ++block) {
        poison(block);
    }
    auto const all = [&](State state) {
        return std::all_of(states_.begin(), states_.end(), [&](State each) { return each == state; });
    };
    bool backwards = false;
    while (!all(State::kDone)) {
        bool progress = release(0, states_.size(), State::kAtClusterBarrier);
        for (size_t i = 0; i < grid_.in_cluster; ++i) {
            size_t const block = backwards ? grid_.in_cluster - 1 - i : i;
            bool flip = backwards;
            while (pass(block, flip)) {
                progress = true;
                flip = !flip;
            }
            if (states_[block * grid_.threads] == State::kDone) {
                poison(block);
            }
        }
        if (!progress) {
            throw std::logic_error("not all threads reached the same barrier");
        }
        backwards = !backwards;
    }
}

inline void run(Grid const& grid, std::function<void(float*)> const& body) {
    Cluster cluster(grid);
    for (unsigned y = 0; y < grid.clusters; ++y) {
        for (unsigned x = 0; x < grid.blocks; x += grid.in_cluster) {
            cluster.run(x, y, body);
        }
    }
}

}  // namespace shim
