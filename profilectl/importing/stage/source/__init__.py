"""What the user named becomes plain local files: found, decrypted, unpacked, in UTF-8."""
