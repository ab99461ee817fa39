"""The lab: people chat in containers, an intruder misbehaves, the traffic is understood, and the wall goes up.

story      one plain line an event, to stdout and to the shared story file      (edge)
intruder   what misbehaves: scan, guesses, flood, ARP games, beacon; bounded    (edge)
analyst    analyses the captures as they grow, writes report and rules          (edge)
wall       proves and applies the rules in the server's network, counts         (edge)
people     what the people noticed: deliveries and delay, before and after      pure
web        serves the live page                                                 (edge)

Everything that analyses, makes, proves or applies is one of the product's own commands, run as a user would run it.
"""
