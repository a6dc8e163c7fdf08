// Large pieces of memory, kept from one call for the next: fresh pages took up to a tenth of a large layer's time.
#pragma once

#include <cstdint>

namespace unrolled {

// Aligned to 64 bytes, not initialised. To be given back with the size that was asked for.
void* take(int64_t bytes);
void give_back(void* at, int64_t bytes) noexcept;

// Asks for large pages before fresh memory is touched: thousands of small ones took a fifth of a large layer's time.
void ask_for_large_pages(void* at, int64_t bytes);

}    // namespace unrolled
