"""The daily order CSV: mailed once a day by a fleet, every order in exactly one file."""
