"""Files that the user named become plain local files: found, decrypted, unpacked, in UTF-8."""
