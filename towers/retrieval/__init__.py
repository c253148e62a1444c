"""The best items for vectors: exact search, FAISS, Qdrant; seen items."""
