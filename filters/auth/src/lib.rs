//! Who may call: bearer tokens, scopes, default deny
