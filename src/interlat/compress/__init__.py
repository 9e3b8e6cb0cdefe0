"""The compression stage: senders that say in a few vectors what another one says in a page of tokens."""
