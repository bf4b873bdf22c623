"""What a run leaves for people: its page (`page.write_report`) and its videos (`video.draw_video`)."""
