// Drives PyTorch's CUDA caching allocator: one line in, one line out.
//
//   a ID BYTES   allocate     f ID   free     e   empty the cache     s   print every segment
//
// After each: a letter (o: out of memory) and, in bytes, allocated, requested, reserved, inactive
// split, and the peaks of the first three.
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/PeerToPeerAccess.h>

#include <iostream>
#include <string>
#include <unordered_map>

namespace caching = c10::cuda::CUDACachingAllocator;

static void print_figures(char letter) {
  const auto stats = caching::get()->getDeviceStats(0);
  const auto& allocated = stats.allocated_bytes[0];
  const auto& requested = stats.requested_bytes[0];
  const auto& reserved = stats.reserved_bytes[0];
  std::cout << letter << ' ' << allocated.current << ' ' << requested.current << ' '
            << reserved.current << ' ' << stats.inactive_split_bytes[0].current << ' '
            << allocated.peak << ' ' << requested.peak << ' ' << reserved.peak << '\n';
}

static void print_segments() {
  for (const auto& segment : caching::get()->snapshot().segments) {
    std::cout << "s " << segment.total_size << ' ' << !segment.is_large;
    for (const auto& block : segment.blocks) {
      std::cout << ' ' << block.size << ':' << (block.allocated ? block.requested_size : 0);
    }
    std::cout << '\n';
  }
}

int main() {
  caching::get()->init(1);
  c10::cuda::detail::init_p2p_access_cache(1);
  std::unordered_map<long, void*> blocks;
  char letter;
  long id;
  size_t size;
  while (std::cin >> letter) {
    if (letter == 'a') {
      std::cin >> id >> size;
      try {
        blocks[id] = caching::get()->raw_alloc(size);
      } catch (const c10::OutOfMemoryError&) {
        letter = 'o';
      }
    } else if (letter == 'f') {
      std::cin >> id;
      caching::get()->raw_delete(blocks[id]);  // a null pointer if there was no memory
    } else if (letter == 'e') {
      caching::get()->emptyCache();
    } else {
      print_segments();
      continue;
    }
    print_figures(letter);
  }
}
