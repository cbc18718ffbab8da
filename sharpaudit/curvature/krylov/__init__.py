"""What do products with vectors tell of a symmetric matrix that is never formed: eigenvalues, traces, density?"""
