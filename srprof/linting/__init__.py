"""What an entrant of a challenge wants to know of an entry before it is sent."""
