# Some packages install a folder `tests` of their own, which Python would prefer to one without this file.
