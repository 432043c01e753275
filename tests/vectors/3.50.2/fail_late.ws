{"msg":"send_hash"}
{"msg":"estimation","rank":0,"queue_size":1,"avg_event_process_time":0.019804214975636475,"avg_event_concurrent_process_time":0.004951053743909119,"rank_eta":0.019804214975636475,"queue_eta":0.0}
{"msg":"send_data"}
{"msg":"process_starts"}
{"msg":"process_generating","output":{"data":["0"],"is_generating":true,"duration":0.0006742477416992188,"average_duration":0.0006742477416992188},"success":true}
{"msg":"process_generating","output":{"data":["1"],"is_generating":true,"duration":9.894371032714844e-05,"average_duration":0.0003865957260131836},"success":true}
{"msg":"process_generating","output":{"data":["2"],"is_generating":true,"duration":0.00021910667419433594,"average_duration":0.0003307660420735677},"success":true}
{"msg":"process_completed","output":{"error":"'failed after outputs'"},"success":false}
