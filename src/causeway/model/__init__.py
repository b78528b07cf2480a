"""The nouns of the compute internet, with their units.

Everything here is a frozen value or a pure function over values, and imports the standard library
only. Rooms (`schedule`, `law`, `price`, ...) meet in these nouns and never import one another.

Conventions that hold everywhere: instants are integer milliseconds since the Unix epoch and end in
`_ms`; durations say their unit (`_s`, `_ms`); memory is bytes; CPU is thousandths of a core
(`cpu_milli`); energy is integer millijoules (`_mj`); carbon is integer milligrams CO2e (`_mg`);
money is integer micro-units of a currency (`_micros`); a ratio in 0..1 ends in `_share`.
"""
