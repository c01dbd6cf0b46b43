package main

var capture []Rule
