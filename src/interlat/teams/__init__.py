"""Teams: graphs of agents whose edges are channels."""
