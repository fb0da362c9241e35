/* Codes in and out of words, for avx512: see words.h. */
#include "words_turn_x86.h"

/* What was made in a vector is stored as one, before it is looked at number by number. */
#define WORDS_EIGHTS(array) __asm__("" : "+m"(array))
#define WORDS_TABLE hub_words_avx512
#include "words_kernels.h"
