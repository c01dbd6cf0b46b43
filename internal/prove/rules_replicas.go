package main

var replicas []Rule
