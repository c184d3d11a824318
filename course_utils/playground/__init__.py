"""The playground: the course's text-to-image system as one web page, without Python.

`web/` holds the page. Its engine (`pipeline.js` and what it imports) has the same parts under the
same names as the course's own code, on one matrix product in WebAssembly, and reads the same
weights. `site` puts page and weights into a folder, `single` into one HTML file, `serve` shows them
on this machine. None of them needs torch.
"""
