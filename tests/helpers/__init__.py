"""What tests share: tiny models, made episodes, servers that misbehave, folders in foreign layouts."""
