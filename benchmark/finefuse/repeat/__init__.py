"""Running things again: to vouch for results, to know this machine's noise, and over versions of a dependency."""
