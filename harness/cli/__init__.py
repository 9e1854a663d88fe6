"""The commands: what each verb does, its options and what it prints."""
