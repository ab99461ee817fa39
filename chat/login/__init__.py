"""A login at somebody's server, from the command line.

visit       log in, enter a room, work, leave
cli         the commands join, send, bot, admin
"""
