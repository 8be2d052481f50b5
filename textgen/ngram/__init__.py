"""N-gram models with modified Kneser-Ney smoothing: counting, next-token distributions, files. No torch."""
