"""The command line: parse, call an action, print; it imports actions and `render`."""
