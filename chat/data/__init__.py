"""A data folder that is one's own: a server on it, its certificate and accounts, copies of it.

account     one made while no server runs
backup      a copy, also of a running server's, and back
cli         the commands serve, config, cert, account, backup, restore
"""
