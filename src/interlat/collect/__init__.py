"""The collection stage: games become scenes, episodes and a sender's thoughts on disk."""
