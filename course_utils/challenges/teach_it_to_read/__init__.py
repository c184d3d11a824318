"""Challenge 03, Teach it to read: a contrastive loss, and a retrieval bar."""

NUMBER, TITLE = "03", "Teach it to read"
