/* run_join_x86.h - the last steps of joining sixteen partial sums, for run_lanes_<isa>.h: 4 -> 2 -> 1. */
#ifndef HUB_RUN_JOIN_X86_H
#define HUB_RUN_JOIN_X86_H

HUB_INLINE void join_four(const float *parts, float *out) {
    __m128 a = join_to_four(parts), b = join_to_four(parts + 16);
    __m128 c = join_to_four(parts + 32), d = join_to_four(parts + 48);
    _MM_TRANSPOSE4_PS(a, b, c, d);
    _mm_storeu_ps(out, _mm_add_ps(_mm_add_ps(a, c), _mm_add_ps(b, d)));
}

HUB_INLINE float join_one(const float *parts) {
    const __m128 s = join_to_four(parts);
    const __m128 t = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(t, _mm_shuffle_ps(t, t, 1)));
}

#endif
