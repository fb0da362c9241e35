/* Codes in and out of words, for avx512: see words.h. */
#include "words_turn_x86.h"

#define WORDS_LANES 8
#define WORDS_TABLE hub_words_avx512
#include "words_kernels.h"
