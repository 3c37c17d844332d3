"""Who may call what: methods and their groups, identities and their rules, tokens, and the keys that sign them."""
