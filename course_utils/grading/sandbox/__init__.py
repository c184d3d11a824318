"""Where answers of others run: `bubblewrap` starts them, `seccomp` filters their system calls, and
`probe` tries to get out."""
