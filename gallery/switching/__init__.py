"""From one encoder to another: filling a second space, comparing, switching, retiring."""
