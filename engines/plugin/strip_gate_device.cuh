// The words that the device code is written in: vectors of values, loads by how long their values are needed, sums over
// lanes, and clusters. Under g++ host/cuda_shim.h stands for CUDA.
#pragma once

#if defined(__CUDACC__)
#include <cuda_fp16.h>
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
#include <cooperative_groups.h>
#endif
#else
#include "host/cuda_shim.h"
#endif

#include <cstdint>
#include <cstring>

namespace lgeu {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;
constexpr int kVectorBytes = 16;

// Values that one instruction loads.
template <typename T>
constexpr int kPerVector = kVectorBytes / static_cast<int>(sizeof(T));

template <typename T, int N>
struct alignas(sizeof(T) * N) Vector {
    T values[N];
};

template <int N, typename T>
__device__ inline Vector<T, N> load(T const* address) {
    return *reinterpret_cast<Vector<T, N> const*>(address);
}

template <typename To, typename From>
__device__ inline To same_bits(From const& from) {
    static_assert(sizeof(To) == sizeof(From));
    To to;
    std::memcpy(&to, &from, sizeof(To));
    return to;
}

// Of X: read once, and in nobody's way in the caches.
template <int N, typename T>
__device__ inline Vector<T, N> load_once(T const* address) {
    if constexpr (sizeof(T) * N == 16) {
        return same_bits<Vector<T, N>>(__ldcs(reinterpret_cast<uint4 const*>(address)));
    } else if constexpr (sizeof(T) * N == 8) {
        return same_bits<Vector<T, N>>(__ldcs(reinterpret_cast<uint2 const*>(address)));
    } else {
        return load<N>(address);
    }
}

// Of the weights: the same for every tile of images.
template <int N, typename T>
__device__ inline Vector<T, N> load_again(T const* address) {
    if constexpr (sizeof(T) * N == 16) {
        return same_bits<Vector<T, N>>(__ldg(reinterpret_cast<uint4 const*>(address)));
    } else {
        return load<N>(address);
    }
}

// Whether rows of `length` values, the first at `address`, are whole vectors of N.
template <int N, typename T>
__device__ inline bool in_vectors(T const* address, int64_t length) {
    return length % N == 0 && reinterpret_cast<uintptr_t>(address) % (N * sizeof(T)) == 0;
}

__device__ inline float to_float(float value) { return value; }
__device__ inline float to_float(__half value) { return __half2float(value); }

template <typename T>
__device__ inline T from_float(float value);
template <>
__device__ inline float from_float<float>(float value) { return value; }
template <>
__device__ inline __half from_float<__half>(float value) { return __float2half(value); }

// Sum over `width` neighbouring lanes (a power of two up to a warp); every lane gets it. All 32 lanes must call it.
__device__ inline float sum_over_lanes(float value, int width) {
    for (int offset = width / 2; offset > 0; offset /= 2) {
        value += __shfl_xor_sync(kAllLanes, value, offset);
    }
    return value;
}

// Asks for what lies from `address` on to be brought into the L2 cache, and does not wait; one thread's call is enough.
// GPUs before sm_90 have no instruction for it that takes more than a line. Of more than half a megabyte it asks for the
// first part: the instruction counts groups of 16 bytes in 16 bits.
template <typename T>
__device__ inline void prefetch(T const* address, int64_t count) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    // Whole groups of 16 bytes, none of them outside: what is left at the ends is a vector at most.
    constexpr int64_t kMost = 512 * 1024 / static_cast<int64_t>(sizeof(T));
    T const* const end = address + (count < kMost ? count : kMost);
    uintptr_t const first = (reinterpret_cast<uintptr_t>(address) + kVectorBytes - 1) / kVectorBytes * kVectorBytes;
    uintptr_t const last = reinterpret_cast<uintptr_t>(end) / kVectorBytes * kVectorBytes;
    if (last > first) {
        asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(__cvta_generic_to_global(
                         reinterpret_cast<void const*>(first))),
            "r"(static_cast<uint32_t>(last - first)));
    }
#else
    (void)address;
    (void)count;
#endif
}

#if defined(__CUDACC__)
// Waits for all threads of the cluster; a block that was launched without one is a cluster by itself.
__device__ inline void cluster_barrier() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    cooperative_groups::this_cluster().sync();
#else
    __syncthreads();
#endif
}

// Waits for all threads of the cluster, but not for what they have written: nobody reads it any more, and the block's shared
// memory, which others may have been reading, can go.
__device__ inline void leave_cluster() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    __cluster_barrier_arrive_relaxed();
    __cluster_barrier_wait();
#endif
}

// The address, in block `rank` of the cluster, of what `address` is in the shared memory of this one.
__device__ inline float const* in_block_of_cluster(float const* address, int rank) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    return cooperative_groups::this_cluster().map_shared_rank(const_cast<float*>(address), rank);
#else
    (void)rank;
    return address;
#endif
}
#endif

}  // namespace lgeu
