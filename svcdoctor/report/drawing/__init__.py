"""Ways as drawings: from what ``trace`` answered to a graph, and from the graph to SVG, Mermaid and Graphviz."""
