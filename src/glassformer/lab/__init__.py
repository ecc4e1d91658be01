"""The lab: change a number, switch a part off, patch one in, and see what follows."""
