/* Codes in and out of words, for avx2: see words.h. */
#include "words_turn_x86.h"

#define WORDS_LANES 4
#define WORDS_TABLE hub_words_avx2
#include "words_kernels.h"
