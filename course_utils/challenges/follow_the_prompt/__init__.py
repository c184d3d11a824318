"""Challenge 05, Follow the prompt: orders in a customer's words become pictures."""

NUMBER, TITLE = "05", "Follow the prompt"
