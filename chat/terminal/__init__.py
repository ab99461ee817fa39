"""The full-screen chat client.

state       what is known of each room: unread, mentions, people, read marker      pure
completion  what Tab offers                                                        pure
views       the widgets: room list, message log, member list, input, transfers     draws
screens     the windows on top: file picker, search, help, a question              draws
app         keys, events of the client, commands                                   the one that talks to `chat.client`

Every string of a peer was made safe in `chat.events`; here it is only ever drawn through `Text`, never as markup.
"""
