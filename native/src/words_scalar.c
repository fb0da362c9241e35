/* Codes in and out of words; the definition. See words.h. */
#define WORDS_TABLE hub_words_scalar
#include "words_kernels.h"
