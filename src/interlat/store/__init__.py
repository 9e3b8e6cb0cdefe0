"""The latent store: ragged rows of hidden states on disk, with an index and a manifest."""
